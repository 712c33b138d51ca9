//! callfold-store-sqlite
