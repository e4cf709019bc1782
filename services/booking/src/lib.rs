//! tourmesh-booking
