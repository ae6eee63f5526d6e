//! Packs BentoML services into container images, and serves them.
