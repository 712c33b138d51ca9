//! callfold-tests
