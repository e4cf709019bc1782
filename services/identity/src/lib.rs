//! tourmesh-identity
