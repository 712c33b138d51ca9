//! callfold-gateway
