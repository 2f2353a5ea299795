//! kamacache core.
