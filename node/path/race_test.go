//go:build race

package path

func init() { raceDetector = true }
