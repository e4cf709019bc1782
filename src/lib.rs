//! tourmesh
