//! selling
