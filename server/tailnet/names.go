package tailnet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ginnel/ginnel/wire/control"
)

// maxLabel is the longest DNS label, in bytes.
const maxLabel = 63

// nameless is the label of a node whose host name leaves nothing to make one of.
const nameless = "node"

// labelOf returns the DNS label that a host name asks for.
func labelOf(hostname string) string {
	if label := strings.Trim(control.SanitizeHostname(hostname), "-"); label != "" {
		return label
	}
	return nameless
}

// uniqueLabel returns label, or label with the first free number behind it. The
// node itself does not count as taken.
func (t *tx) uniqueLabel(tn TailnetID, self control.NodeID, label string) string {
	free := func(l string) bool {
		n := t.NodeByName(tn, l)
		return n == nil || n.ID == self
	}
	if free(label) {
		return label
	}
	for i := max(1, t.s.names[tailnetName{tn, label}]); ; i++ {
		if l := numbered(label, i); free(l) {
			t.s.names[tailnetName{tn, label}] = i
			return l
		}
	}
}

// numbered is a label with a number behind it, shortened to fit.
func numbered(label string, i int) string {
	suffix := "-" + strconv.Itoa(i)
	return strings.TrimRight(label[:min(len(label), maxLabel-len(suffix))], "-") + suffix
}

// nameHints say of a label below which number behind it none is free, so that a
// thousand machines of one name do not each try all numbers. It belongs to the
// loop.
type nameHints map[tailnetName]int

// free notes that a name is no longer taken.
func (h nameHints) free(tn TailnetID, name string) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return
	}
	n, err := strconv.Atoi(name[i+1:])
	if err != nil {
		return
	}
	if len(name) > maxLabel-2 {
		// The label may have been shortened to fit: whose it is cannot be told.
		clear(h)
		return
	}
	if label := (tailnetName{tn, name[:i]}); n < h[label] {
		h[label] = n
	}
}

// derivedFrom reports whether given is label or label with a number behind it.
func derivedFrom(given, label string) bool {
	if given == label {
		return true
	}
	i := strings.LastIndexByte(given, '-')
	if i < 0 || !strings.HasPrefix(label, given[:i]) {
		return false
	}
	// A shortened stem counts only where the number left no room for all of it.
	if given[:i] != label && len(given) < maxLabel-1 {
		return false
	}
	_, err := strconv.ParseUint(given[i+1:], 10, 32)
	return err == nil
}

// checkLabel reports whether an administrator may give a node that name.
func checkLabel(label string) error {
	if label == "" || len(label) > maxLabel || label != control.SanitizeHostname(label) || label != strings.Trim(label, "-") {
		return fmt.Errorf("%w: %.80q must be 1 to 63 lower-case letters, digits and dashes, with no dash at the ends", ErrNameInvalid, label)
	}
	return nil
}

// cleanTags checks tags and returns them sorted, without duplicates; nil for none.
func cleanTags(tags []string) ([]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	var bad []string
	for _, t := range tags {
		if !control.ValidTag(t) {
			bad = append(bad, t)
		}
	}
	if len(bad) > 0 {
		return nil, &tagsError{tags: bad}
	}
	out := slices.Clone(tags)
	slices.Sort(out)
	return slices.Compact(out), nil
}

// tagsError is ErrTags with the tags named.
type tagsError struct{ tags []string }

func (e *tagsError) Error() string {
	return fmt.Sprintf("requested tags [%.200s] are invalid or not permitted", strings.Join(e.tags, " "))
}

func (e *tagsError) Unwrap() error { return ErrTags }
