// Package tlscert gets the certificate of a server that speaks TLS: one it signs
// itself, one in files, or one from an authority by ACME.
//
// Where it is kept and which of the three it is are its users' business.
package tlscert
