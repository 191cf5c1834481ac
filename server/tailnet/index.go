package tailnet

import "github.com/google/btree"

// treeDegree is the branching of the indexes: a change copies a few nodes of
// twice as many entries.
const treeDegree = 16

// index is an ordered map from K to V that can be cloned at a constant cost.
type index[K, V any] struct {
	tree *btree.BTreeG[entry[K, V]]
}

type entry[K, V any] struct {
	key K
	val V
}

func newIndex[K, V any](compare func(a, b K) int) index[K, V] {
	return index[K, V]{btree.NewG(treeDegree, func(a, b entry[K, V]) bool { return compare(a.key, b.key) < 0 })}
}

// get returns the value of k, or the zero V.
func (x index[K, V]) get(k K) V {
	e, _ := x.tree.Get(entry[K, V]{key: k})
	return e.val
}

func (x index[K, V]) put(k K, v V) { x.tree.ReplaceOrInsert(entry[K, V]{k, v}) }

// remove takes k out and returns its value, or the zero V.
func (x index[K, V]) remove(k K) V {
	e, _ := x.tree.Delete(entry[K, V]{key: k})
	return e.val
}

func (x index[K, V]) len() int { return x.tree.Len() }

func (x index[K, V]) clone() index[K, V] { return index[K, V]{x.tree.Clone()} }

// all calls fn with every value in order of the keys, until fn returns false.
func (x index[K, V]) all(fn func(V) bool) {
	x.tree.Ascend(func(e entry[K, V]) bool { return fn(e.val) })
}

// from is all for the keys that are not below k.
func (x index[K, V]) from(k K, fn func(V) bool) {
	x.tree.AscendGreaterOrEqual(entry[K, V]{key: k}, func(e entry[K, V]) bool { return fn(e.val) })
}
