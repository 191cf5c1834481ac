package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// randomSeeds is how many scenarios TestRandom plays, shortSeeds with -short or under the
// race detector. Each of its
// processes plays seedsAtOnce: what worlds leave behind (see holdFinalizers) goes with
// the process.
const (
	randomSeeds = 300
	shortSeeds  = 50
	seedsAtOnce = 25
)

// Environment variables: how many seeds to play instead, and the first of those that a
// child process is to play.
const (
	seedsVar = "GINNEL_LAB_SEEDS"
	childVar = "GINNEL_LAB_CHILD"
)

// TestRandom plays scenarios of many seeds, in processes of their own: whatever happened,
// every pair talks in the end. With a seed in the environment it plays that one.
func TestRandom(t *testing.T) {
	if os.Getenv(seedVar) != "" {
		playSeed(t, Seed(0))
		return
	}
	n := randomSeeds
	if testing.Short() || underRace {
		n = shortSeeds
	}
	if text := os.Getenv(seedsVar); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", seedsVar, err)
		}
	}
	var mu sync.Mutex
	var all []time.Duration
	t.Cleanup(func() {
		slices.Sort(all)
		if k := len(all); k != n {
			t.Errorf("%d of %d seeds came to their end", k, n)
		} else {
			t.Logf("%d scenarios; all pairs talked after p50 %v, p99 %v, at most %v", k, all[k/2], all[k*99/100], all[k-1])
		}
	})
	for first := 0; first < n; first += seedsAtOnce {
		t.Run(fmt.Sprintf("%d-%d", first, min(first+seedsAtOnce, n)-1), func(t *testing.T) {
			t.Parallel()
			took := playApart(t, first, min(first+seedsAtOnce, n))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
}

// talked is the line by which a child reports a seed.
var talked = regexp.MustCompile(`(?m)seed (\d+): all talked after (\S+),`)

// playApart plays seeds in another process. It returns how long it took until all pairs
// talked, of those in which they did.
func playApart(t *testing.T, from, to int) (took []time.Duration) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestRandomChild$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", childVar, from), fmt.Sprintf("%s=%d", seedsVar, to), "GOGC=400")
	out, err := cmd.CombinedOutput()
	for _, m := range talked.FindAllSubmatch(out, -1) {
		d, err := time.ParseDuration(string(m[2]))
		if err != nil {
			t.Errorf("seed %s: %v", m[1], err)
		}
		took = append(took, d)
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Errorf("%v (replay a seed with %s=SEED go test ./lab -run TestRandom$)\n%s", err, seedVar, failures(out))
	} else if err != nil {
		t.Error(err)
	}
	return took
}

// failures returns what a child printed from its first failure on.
func failures(out []byte) string {
	const most = 64 << 10
	if i := bytes.Index(out, []byte("_test.go:")); i >= 0 {
		out = out[bytes.LastIndexByte(out[:i], '\n')+1:]
	}
	return strings.ToValidUTF8(string(out[:min(len(out), most)]), "?")
}

// TestRandomChild is the other half of TestRandom. By itself it plays one seed more.
func TestRandomChild(t *testing.T) {
	from, to := uint64(randomSeeds), uint64(randomSeeds+1)
	if first := os.Getenv(childVar); first != "" {
		var err, err2 error
		from, err = strconv.ParseUint(first, 10, 64)
		to, err2 = strconv.ParseUint(os.Getenv(seedsVar), 10, 64)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playSeed(t, seed) })
	}
}

// playSeed plays one scenario, as repeatably as can be.
func playSeed(t *testing.T, seed uint64) {
	Replayable(t, seed)
	s := newScenario(seed)
	if os.Getenv(seedVar) != "" {
		t.Logf("seed %d:\n%v", seed, s)
	}
	took, sum := s.run(t)
	if !t.Failed() {
		fmt.Printf("seed %d: all talked after %v, packets %x\n", seed, took, sum)
	}
}
