package route

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrOtherNamespace is returned by Cleanup for a journal of a network namespace
// other than the caller's. It can be undone only from there.
var ErrOtherNamespace = errors.New("the routing journal was written in another network namespace")

// Options are the surroundings of a Router.
type Options struct {
	// JournalPath is the journal's file, in a directory that survives a crash.
	JournalPath string
	// Logger may be nil.
	Logger *slog.Logger
}

// Router brings the operating system to the wanted state and keeps it there. It
// is safe for concurrent use.
type Router struct {
	log  *slog.Logger
	head journalHead
	step func(string) // called after each write to the journal or the kernel, by tests

	mu      sync.Mutex
	config  Config
	journal *journal
	owned   []object // made by us, in order; what the journal says
	closed  bool
	wanted  map[object]bool // by the last plan; what the watcher looks for
	stop    context.CancelFunc
	watched chan struct{} // closed when the watcher has ended
}

// New returns a Router that has changed nothing yet, except that it undid what a
// crashed one left behind.
func New(o Options) (*Router, error) {
	return newRouter(o, func(string) {})
}

func newRouter(o Options, step func(string)) (*Router, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch err := Cleanup(o.JournalPath, o.Logger); {
	case errors.Is(err, ErrOtherNamespace):
		o.Logger.Warn("what an earlier run changed in another network namespace stays there", "journal", o.JournalPath)
	case errors.Is(err, errDamaged):
		// Routes and rules bear our mark and are taken over once wanted.
		o.Logger.Warn("cannot tell what an earlier run left behind", "err", err)
	case err != nil:
		return nil, err
	}
	head, err := here()
	if err != nil {
		return nil, err
	}
	j, err := createJournal(o.JournalPath, head, nil)
	if err != nil {
		return nil, err
	}
	r := &Router{log: o.Logger, head: head, step: step, journal: j, watched: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	w, err := newWatcher()
	if err != nil {
		// The state is still applied; it is only not restored by itself.
		r.log.Warn("cannot watch routes and rules", "err", err)
		close(r.watched)
		return r, nil
	}
	go func() {
		defer close(r.watched)
		w.run(ctx, r)
	}()
	return r, nil
}

// Apply brings the system to c. It may be repeated: what is as wanted is not
// touched. On errors it does as much as it can and returns them all.
func (r *Router) Apply(c Config) error {
	if err := c.validate(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("routing: router is closed")
	}
	r.config = c
	return r.reconcile()
}

// repair applies the last configuration again.
func (r *Router) repair() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.config.Device == "" {
		return nil
	}
	return r.reconcile()
}

// wants reports whether o is part of the wanted state.
func (r *Router) wants(o object) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted[o]
}

// Close removes all that the Router made and restores what it changed. If that
// fails the journal stays, for Cleanup.
func (r *Router) Close() error {
	r.stop()
	<-r.watched
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.config = Config{}
	err := r.reconcile()
	r.closed = true
	return errors.Join(err, r.journal.close(err == nil))
}

// reconcile compares what is wanted with the kernel, makes what is missing, and
// then removes what is ours and no longer wanted.
func (r *Router) reconcile() error {
	k, err := dialKernel()
	if err != nil {
		return err
	}
	defer k.close()
	var dev link
	var s support
	if r.config.Device != "" {
		if dev, err = k.linkByName(r.config.Device); err != nil {
			return fmt.Errorf("routing: %w", err)
		}
		if err := r.bringUp(k, dev); err != nil {
			return err
		}
		s = k.probe(r.config.Device)
	}
	wanted := plan(r.config, dev.index, s)
	r.wanted = map[object]bool{}
	for _, o := range wanted {
		r.wanted[o] = true
	}
	have, err := r.inspect(k, dev.index, wanted)
	if err != nil {
		return err
	}
	return errors.Join(r.makeMissing(k, wanted, have), r.removeUnwanted(k, dev.index, have), r.compact())
}

// bringUp sets the interface's MTU and raises it.
func (r *Router) bringUp(k *kernel, dev link) error {
	mtu := uint32(r.config.MTU)
	if dev.up && (mtu == 0 || mtu == dev.mtu) {
		return nil
	}
	known := slices.ContainsFunc(r.owned, func(o object) bool { return o.Kind == kindLink && o.Index == dev.index })
	if !known {
		o := object{Kind: kindLink, Index: dev.index, Up: dev.up, MTU: dev.mtu}
		if err := r.intend(o); err != nil {
			return err
		}
	}
	if err := k.setLink(dev.index, true, mtu); err != nil {
		return fmt.Errorf("routing: bring up interface %q with MTU %d: %w", r.config.Device, mtu, err)
	}
	r.step("link up")
	return nil
}

// intend writes objects that are about to be made to the journal.
func (r *Router) intend(objects ...object) error {
	if err := r.journal.append(opMake, objects...); err != nil {
		return err
	}
	r.owned = append(r.owned, objects...)
	if len(objects) > 0 {
		r.step("journal")
	}
	return nil
}

// inspect returns what is in the kernel of the kinds that are wanted or ours.
func (r *Router) inspect(k *kernel, index uint32, wanted []object) (existing, error) {
	have := existing{}
	type dump struct {
		kind  kind
		v6    bool
		table uint32
		index uint32
	}
	done := map[dump]bool{}
	all := append(slices.Clone(wanted), r.owned...)
	if index != 0 {
		all = append(all, object{Kind: kindAddr, Index: index})
	}
	for _, o := range all {
		d := dump{kind: o.Kind}
		switch o.Kind {
		case kindAddr:
			d.index = o.Index
		case kindRoute:
			d.v6, d.table = o.Prefix.Addr().Is6(), o.Table
		case kindRule:
			d.v6 = o.V6
		case kindLink:
			continue
		}
		if done[d] {
			continue
		}
		done[d] = true
		var err error
		switch o.Kind {
		case kindAddr:
			err = k.addrs(d.index, have)
		case kindRoute:
			err = k.routes(d.v6, d.table, have)
		case kindRule:
			err = k.rules(d.v6, have)
		}
		if err != nil {
			return nil, err
		}
	}
	return have, nil
}

// makeMissing makes the wanted objects that are not there. What others made
// before us serves as well, and stays theirs.
func (r *Router) makeMissing(k *kernel, wanted []object, have existing) error {
	var missing, fresh []object
	for _, o := range wanted {
		ours, there := have[o]
		if !there {
			missing = append(missing, o)
		}
		// What bears our mark was lost sight of by an earlier run.
		lost := there && ours && o.Kind != kindAddr
		if (!there || lost) && !slices.Contains(r.owned, o) {
			fresh = append(fresh, o)
		}
	}
	if err := r.intend(fresh...); err != nil {
		return err
	}
	var errs []error
	for _, o := range missing {
		err := k.make(o)
		if errors.Is(err, unix.EEXIST) {
			// Someone else was faster, or has another object in this place.
			err = nil
			if e := r.forget(o); e != nil {
				errs = append(errs, e)
			}
			r.log.Warn("routing: made by someone else", "what", o.String())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("routing: make %v: %w", o, err))
			continue
		}
		r.step("make " + o.String())
	}
	return errors.Join(errs...)
}

// forget records what is not, or no longer, there because of us.
func (r *Router) forget(objects ...object) error {
	if len(objects) == 0 {
		return nil
	}
	r.owned = slices.DeleteFunc(r.owned, func(x object) bool { return slices.Contains(objects, x) })
	err := r.journal.append(opGone, objects...)
	r.step("journal")
	return err
}

// removeUnwanted removes, last made first, what is ours and not wanted.
func (r *Router) removeUnwanted(k *kernel, index uint32, have existing) error {
	var errs []error
	var gone []object
	for _, o := range slices.Backward(r.owned) {
		if r.wanted[o] || o.Kind == kindLink && o.Index == index {
			continue
		}
		if err := removeOurs(k, o, have); err != nil {
			errs = append(errs, err)
			continue
		}
		r.step("remove " + o.String())
		gone = append(gone, o)
	}
	// A crash before this only makes Cleanup look for what is not there.
	if err := r.forget(gone...); err != nil {
		errs = append(errs, err)
	}
	// An earlier instance may have left mesh addresses on the interface.
	for _, o := range slices.SortedFunc(maps.Keys(have), func(a, b object) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) }) {
		if o.Kind != kindAddr || o.Index != index || index == 0 || r.wanted[o] || !isMeshAddr(o.Prefix.Addr()) || slices.Contains(r.owned, o) {
			continue
		}
		if err := k.remove(o); err != nil {
			errs = append(errs, fmt.Errorf("routing: remove stale %v: %w", o, err))
		}
	}
	return errors.Join(errs...)
}

// removeOurs removes o, unless the kernel says that what is in its place was
// made by someone else.
func removeOurs(k *kernel, o object, have existing) error {
	if o.Kind != kindLink {
		if ours, ok := have[o]; !ok || !ours {
			return nil
		}
	}
	if err := k.remove(o); err != nil {
		return fmt.Errorf("routing: remove %v: %w", o, err)
	}
	delete(have, o)
	return nil
}

var meshRanges = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fd7a:115c:a1e0::/48"),
}

func isMeshAddr(a netip.Addr) bool {
	return slices.ContainsFunc(meshRanges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// compactAbove is how many more entries than live objects a journal may have.
const compactAbove = 4096

// compact rewrites a journal that has grown long.
func (r *Router) compact() error {
	if r.journal.size < len(r.owned)+compactAbove {
		return nil
	}
	j, err := createJournal(r.journal.path, r.head, r.owned)
	if err != nil {
		return err
	}
	old := r.journal
	r.journal = j
	return old.close(false)
}

// Cleanup undoes what a Router that did not get to Close left behind, according
// to its journal, and removes the journal. It does nothing if there is none. A
// journal of an earlier boot is only removed, since its changes are gone.
func Cleanup(journalPath string, logger *slog.Logger) error {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	head, live, err := readJournal(journalPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := here()
	if err != nil {
		return err
	}
	switch {
	case head.Boot != now.Boot:
		live = nil
	case head.NetNS != now.NetNS:
		return fmt.Errorf("%w (%s)", ErrOtherNamespace, journalPath)
	}
	if len(live) > 0 {
		if err := undo(live, logger); err != nil {
			return err
		}
	}
	if err := os.Remove(journalPath); err != nil {
		return fmt.Errorf("routing journal: %w", err)
	}
	return nil
}

// undo removes the objects, last made first.
func undo(live []object, logger *slog.Logger) error {
	k, err := dialKernel()
	if err != nil {
		return err
	}
	defer k.close()
	have, err := (&Router{owned: live}).inspect(k, 0, nil)
	if err != nil {
		return err
	}
	var errs []error
	undone := 0
	for _, o := range slices.Backward(live) {
		if err := removeOurs(k, o, have); err != nil {
			errs = append(errs, err)
			continue
		}
		undone++
		logger.Debug("undone", "what", o.String())
	}
	if undone > 0 {
		logger.Info("undid what a run that did not end well left in the routing", "objects", undone)
	}
	return errors.Join(errs...)
}
