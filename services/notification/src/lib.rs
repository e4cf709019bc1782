//! tourmesh-notification
