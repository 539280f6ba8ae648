//! opendo-macros
