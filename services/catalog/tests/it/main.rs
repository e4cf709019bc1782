//! What the catalog service proves, on the real engines.
