//! opendo
