//! Local addresses for the ports of sandboxes.
