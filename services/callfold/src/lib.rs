//! callfold
