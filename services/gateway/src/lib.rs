//! tourmesh-gateway
