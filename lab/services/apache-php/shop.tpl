<!doctype html><title>shop</title><p>visit {$visits}</p>
