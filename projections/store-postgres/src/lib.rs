//! callfold-store-postgres
