//! Tests of the roster as a whole.
