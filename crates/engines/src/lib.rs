//! tourmesh-engines
