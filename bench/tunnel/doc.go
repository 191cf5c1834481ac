// Package tunnel measures what the encrypted tunnel between two nodes carries
// and costs: one TCP stream each way, in Gbit/s and in processor seconds per GB
// of each daemon, against other makes of the same thing in the same run. Direct
// paths are compared with a plain wireguard-go pair, relayed ones with official
// nodes and their relay.
//
// Sender, daemons and receiver share one machine, so that the ratios mean
// something and the absolute figures little.
package tunnel
