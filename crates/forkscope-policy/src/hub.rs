//! Hub ids through the hub cache, offline mode honoured.
