// Package store keeps the model of the coordination server on disk.
//
// SQLite implements tailnet.Store on one SQLite file: one connection writes, a
// few read, the journal is a write-ahead log and every commit reaches the disk
// before it returns. It also keeps the server's own secrets, so that one file is
// the whole server: back it up, restore it, and nodes find the same server.
//
// The package decides nothing about the model; package tailnet does. Its tests
// hold every implementation of tailnet.Store to package storetest.
package store
