//go:build race

package peerrelay

func init() { raceDetector = true }
