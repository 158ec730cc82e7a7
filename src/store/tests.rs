//! Tests of the store on a simulated log.
