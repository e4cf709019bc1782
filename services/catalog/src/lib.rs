//! tourmesh-catalog
