//! callfold-store
