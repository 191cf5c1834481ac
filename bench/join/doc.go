// Package join measures how long a fresh node takes from `ginnel up` to the
// answer of its first ping, an ICMP echo request that is sent once, as soon as
// `ginnel up` returns. A lost one is counted, not repeated.
package join
