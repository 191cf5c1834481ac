// Package lab is a small network of network namespaces for one end-to-end test,
// with the real programs running in it. It adds to netlab what a test wants:
// what fails ends the test, everything ends with the test, and a failed test
// prints the end of every program's output.
package lab
