//! tourmesh-payment
