//! opendo-transport
