//! tourmesh-testkit
