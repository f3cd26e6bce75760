//! Verifies access tokens of a Countersign server where they are used: no request per token, and yet a revoked one is
//! refused within seconds.
