-- A client that leaves is looked for among all grants, and so are the grants of one that ends.
CREATE INDEX grants_client_id ON grants (client_id);
