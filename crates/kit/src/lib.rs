//! tourmesh-kit
