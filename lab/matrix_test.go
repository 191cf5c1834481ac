package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// matrixKinds are the rows and columns of the matrix.
var matrixKinds = []Kind{O, F, C1, C2, C3, H, U}

// matrix is what every pair of kinds ends with: D for direct, R for the relay (wire
// document paths, section 23). It is symmetric; the upper half is written down.
var matrix = map[string]string{
	"O":  "DDDDDDR",
	"F":  " DDDDRR",
	"C1": "  DDDDR",
	"C2": "   DDDR",
	"C3": "    DRR",
	"H":  "     RR",
	"U":  "      R",
}

// longEnough is how long a pair that is to be direct may take, and one that is not is
// watched.
const longEnough = 10 * time.Second

// TestMatrix lets every pair of kinds meet: nothing is lost on the way, and the path is the
// best that there can be.
func TestMatrix(t *testing.T) {
	var mu sync.Mutex
	table := map[string]string{}
	t.Cleanup(func() { t.Log("\n" + drawMatrix(table)) })
	for i, a := range matrixKinds {
		for j, b := range matrixKinds[i:] {
			want := matrix[a.Code][i+j] == 'D'
			t.Run(a.Code+"-"+b.Code, func(t *testing.T) {
				t.Parallel()
				Run(t, 1, func(w *World) {
					x, y := w.Site("left", a).Node("alice"), w.Site("right", b).Node("bob")
					w.Within(10*time.Second, "both are up", w.AllUp)
					there, back := x.Stream(y, 20*time.Millisecond), y.Stream(x, 20*time.Millisecond)
					both := func() bool { return x.Direct(y).IsValid() && y.Direct(x).IsValid() }
					took, direct := w.Await(longEnough, both)
					if direct != want {
						w.Errorf("direct: %v, want %v", direct, want)
					}
					time.Sleep(5 * time.Second)
					if direct && !both() {
						w.Error("the direct path did not last")
					}
					there.Stop()
					back.Stop()
					if n := there.Lost() + back.Lost(); n != 0 {
						w.Errorf("%d packets of %d were lost", n, there.Sent()+back.Sent())
					}
					mu.Lock()
					defer mu.Unlock()
					table[a.Code+b.Code] = "relay"
					if direct {
						table[a.Code+b.Code] = fmt.Sprintf("%d ms", took.Milliseconds())
					}
				})
			})
		}
	}
}

// drawMatrix draws how long each pair took to a direct path.
func drawMatrix(table map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s", "")
	for _, k := range matrixKinds {
		fmt.Fprintf(&b, "%8s", k.Code)
	}
	for i, row := range matrixKinds {
		fmt.Fprintf(&b, "\n%-4s%s", row.Code, strings.Repeat(" ", 8*i))
		for _, col := range matrixKinds[i:] {
			fmt.Fprintf(&b, "%8s", table[row.Code+col.Code])
		}
	}
	return b.String()
}

// TestModifiers has what changes the outcome of the matrix.
func TestModifiers(t *testing.T) {
	v6 := func(k Kind) Kind { k.IPv6 = true; k.Code += "+6"; return k }
	behind := func(k Kind, carrier Kind) Kind {
		k.Carrier, k.Code = carrier.NAT, k.Code+"/"+carrier.Code
		return k
	}
	only6 := Kind{Code: "6", NoIPv4: true}
	for _, c := range []struct {
		a, b   Kind
		direct bool
		via6   bool
	}{
		{v6(H), v6(H), true, true},
		{v6(C3), v6(H), true, true},
		{v6(C3), v6(C3), true, true}, // preferred
		{v6(U), v6(H), false, false},
		{behind(C3, C3), C3, true, false},
		{behind(C3, C3), behind(C3, C3), true, false},
		{behind(C3, H), C3, false, false},
		{behind(C3, H), C1, true, false},
		{only6, v6(C3), true, true},
		{only6, only6, true, true},
	} {
		t.Run(c.a.Code+"-"+c.b.Code, func(t *testing.T) {
			t.Parallel()
			Run(t, 2, func(w *World) {
				x, y := w.Site("left", c.a).Node("alice"), w.Site("right", c.b).Node("bob")
				w.Within(10*time.Second, "both are up", w.AllUp)
				s := x.Stream(y, 20*time.Millisecond)
				_, direct := w.Await(longEnough, func() bool {
					at := x.Direct(y)
					return at.IsValid() && (!c.via6 || at.Addr().Is6())
				})
				if direct != c.direct {
					w.Errorf("direct %v, want %v: %v", direct, c.direct, x.Direct(y))
				}
				if s.Stop(); s.Lost() != 0 {
					w.Errorf("%d packets of %d were lost", s.Lost(), s.Sent())
				}
			})
		})
	}
}

// TestSameLAN has two nodes behind one NAT, which knows no hairpin.
func TestSameLAN(t *testing.T) {
	Run(t, 3, func(w *World) {
		home := w.Site("home", H)
		x, y := home.Node("alice"), home.Node("bob")
		w.Within(10*time.Second, "both are up", w.AllUp)
		if _, err := x.Ping(y, time.Second); err != nil {
			w.Fatal(err)
		}
		w.Within(time.Second, "direct", x.DirectTo(y))
		if at := x.Direct(y); !at.Addr().IsPrivate() {
			w.Errorf("by %v, want the address on the LAN", at)
		}
	})
}

// TestManyNodes lets nodes of all kinds ping each other.
func TestManyNodes(t *testing.T) {
	Run(t, 4, func(w *World) {
		for i, k := range append(slices.Clone(matrixKinds), C3, H, C3) {
			w.Site(fmt.Sprint("site", i), k).Node(fmt.Sprint("node", i))
		}
		w.Within(20*time.Second, "all are up", w.AllUp)
		for _, x := range w.Nodes() {
			for _, y := range w.Nodes() {
				if x == y {
					continue
				}
				if _, err := x.Ping(y, time.Second); err != nil {
					w.Errorf("%s to %s: %v", x.Name(), y.Name(), err)
				}
			}
		}
	})
}
