package subject_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats/subject"
)

// show writes a result in a fixed order.
func show(r *subject.Result[string]) string {
	var parts []string
	plain := slices.Clone(r.Plain)
	slices.Sort(plain)
	parts = append(parts, plain...)
	var groups []string
	for _, g := range r.Groups {
		members := slices.Clone(g.Members)
		slices.Sort(members)
		groups = append(groups, g.Name+"("+strings.Join(members, " ")+")")
	}
	slices.Sort(groups)
	return strings.Join(append(parts, groups...), " ")
}

func TestTree(t *testing.T) {
	// Aim: the tree's answers, written down. Method: data-driven.
	datadriven.Walk(t, "testdata/tree", func(t *testing.T, path string) {
		tree := subject.NewTree[string]()
		var scratch subject.Result[string]
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.SplitSeq(d.Input, "\n") {
				f := append(strings.Fields(line), "", "", "")
				switch d.Cmd {
				case "insert": // PATTERN VALUE [QUEUE]
					if err := tree.Insert(f[0], f[2], f[1]); err != nil {
						fmt.Fprintln(&out, err)
					}
				case "remove":
					fmt.Fprintln(&out, tree.Remove(f[0], f[2], f[1]))
				case "match":
					r, _ := tree.Match([]byte(line), &scratch)
					require.Equal(t, !r.IsEmpty(), tree.HasMatch([]byte(line)))
					fmt.Fprintf(&out, "%s: %s\n", line, show(r))
				case "valid":
					fmt.Fprintf(&out, "%q pattern=%t literal=%t\n", line, subject.ValidPattern(line), subject.ValidLiteral(line))
				default:
					d.Fatalf(t, "unknown command")
				}
			}
			fmt.Fprintf(&out, "count %d\n", tree.Count())
			return out.String()
		})
	})
}

// naive is the tree's definition: a list.
type naive []struct{ pattern, queue, value string }

func (n naive) match(s string) *subject.Result[string] {
	r := &subject.Result[string]{}
	for _, e := range n {
		if !subject.Matches(e.pattern, s) {
			continue
		}
		if e.queue == "" {
			r.Plain = append(r.Plain, e.value)
			continue
		}
		i := slices.IndexFunc(r.Groups, func(g subject.Group[string]) bool { return g.Name == e.queue })
		if i < 0 {
			r.Groups = append(r.Groups, subject.Group[string]{Name: e.queue})
			i = len(r.Groups) - 1
		}
		r.Groups[i].Members = append(r.Groups[i].Members, e.value)
	}
	return r
}

// runOps reads operations out of bytes and does them on a tree and on the list.
func runOps(t testing.TB, ops []byte) {
	tree := subject.NewTree[string]()
	var (
		list    naive
		scratch subject.Result[string]
		kept    = make(map[string]*subject.Result[string]) // shared results and their text
	)
	subjectOf := func(b []byte) string {
		toks := make([]string, 0, 4)
		for _, x := range b {
			toks = append(toks, []string{"a", "b", "*", ">", "bb", "", "a*", "c"}[x&7])
			if x&8 != 0 {
				break
			}
		}
		return strings.Join(toks, ".")
	}
	for i := 0; i+5 <= len(ops); i += 5 {
		s := subjectOf(ops[i+1 : i+4])
		queue := []string{"", "", "q1", "q2"}[ops[i+4]&3]
		switch ops[i] % 4 {
		case 0, 1:
			value := strconv.Itoa(i)
			err := tree.Insert(s, queue, value)
			require.Equal(t, subject.ValidPattern(s), err == nil, s)
			if err == nil {
				list = append(list, struct{ pattern, queue, value string }{s, queue, value})
			}
		case 2:
			if len(list) > 0 {
				at := int(ops[i+4]) % len(list)
				e := list[at]
				require.True(t, tree.Remove(e.pattern, e.queue, e.value))
				require.False(t, tree.Remove(e.pattern, e.queue, e.value))
				list = slices.Delete(list, at, at+1)
			}
		}
		require.Equal(t, len(list), tree.Count())
		for range 3 { // the third comes from the cache
			r, shared := tree.Match([]byte(s), &scratch)
			want := show(list.match(s))
			require.Equal(t, want, show(r), "subject %q", s)
			require.Equal(t, want != "", tree.HasMatch([]byte(s)))
			if r.AnyLast {
				for _, last := range []string{"a", "bb", "new"} {
					other := s[:strings.LastIndexByte(s, '.')+1] + last
					require.Equal(t, want, show(list.match(other)), "%q, as for %q", other, s)
				}
			}
			if shared {
				kept[strconv.Itoa(i)+" "+want] = r
			}
		}
	}
	for text, r := range kept {
		_, want, _ := strings.Cut(text, " ")
		require.Equal(t, want, show(r), "a shared result changed")
	}
	for _, e := range list {
		require.True(t, tree.Remove(e.pattern, e.queue, e.value))
	}
	require.Zero(t, tree.Count())
	require.False(t, tree.HasMatch([]byte("a")))
}

func FuzzTree(f *testing.F) {
	// Aim: whatever comes and goes, the tree matches what the definition
	// matches, cached or not. Method: compare with a list.
	f.Add([]byte("\x00\x00\x01\x0a\x00\x00\x02\x03\x00\x01\x02\x00\x00\x00\x00\x03\x00\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 2000 {
			return
		}
		runOps(t, ops)
	})
}

func TestTreeAgainstList(t *testing.T) {
	// Aim: as FuzzTree, with long random histories. Method: seeds.
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 1500)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		runOps(t, ops)
	}
}

func TestManyOnOnePattern(t *testing.T) {
	// Aim: sets with and without an index behave alike, also when they
	// shrink. Method: thousands on one pattern, removed in random order.
	tree := subject.NewTree[int]()
	const n = 5000
	for i := range n {
		require.NoError(t, tree.Insert("x", "", i))
		require.NoError(t, tree.Insert("k."+strconv.Itoa(i), "", i))
	}
	var scratch subject.Result[int]
	for left, i := range rand.Perm(n) {
		require.True(t, tree.Remove("x", "", i))
		require.True(t, tree.Remove("k."+strconv.Itoa(i), "", i))
		if left%97 == 0 {
			r, _ := tree.Match([]byte("x"), &scratch)
			require.Len(t, r.Plain, n-left-1)
			require.NotContains(t, r.Plain, i)
		}
	}
	require.Zero(t, tree.Count())
}

func TestGeneration(t *testing.T) {
	// Aim: a subject's generation changes with what concerns it. Method: one
	// family, another, and wildcards in front.
	tree := subject.NewTree[int]()
	a, b := tree.Family([]byte("alpha.x")), tree.Family([]byte("beta.x"))
	require.NotEqual(t, a, b)
	ga, gb := tree.Generation(a), tree.Generation(b)
	require.NoError(t, tree.Insert("alpha.y", "", 1))
	require.NotEqual(t, ga, tree.Generation(a))
	require.Equal(t, gb, tree.Generation(b))
	ga = tree.Generation(a)
	require.NoError(t, tree.Insert("*.y", "", 2))
	require.NotEqual(t, ga, tree.Generation(a))
	require.NotEqual(t, gb, tree.Generation(b))
	ga = tree.Generation(a)
	require.True(t, tree.Remove("alpha.y", "", 1))
	require.NotEqual(t, ga, tree.Generation(a))
	ga = tree.Generation(a)
	require.False(t, tree.Remove("alpha.y", "", 1))
	require.Equal(t, ga, tree.Generation(a))
}

func TestConcurrentUse(t *testing.T) {
	// Aim: readers see every subscription that is there throughout, while
	// others come and go. Method: for the race detector, too.
	tree := subject.NewTree[int]()
	require.NoError(t, tree.Insert("s.*.z", "", 1))
	require.NoError(t, tree.Insert("s.>", "g", 2))
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			for i := range 2000 {
				p := fmt.Sprintf("s.%d.z", i%50)
				if err := tree.Insert(p, "", 100+w); err != nil {
					t.Error(err)
				}
				if !tree.Remove(p, "", 100+w) {
					t.Error("not removed")
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			var scratch subject.Result[int]
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r, _ := tree.Match(fmt.Appendf(nil, "s.%d.z", i%50), &scratch)
				if !slices.Contains(r.Plain, 1) || len(r.Groups) != 1 || !slices.Equal(r.Groups[0].Members, []int{2}) {
					t.Error("lost a subscription", r)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	require.Equal(t, 2, tree.Count())
}

func TestMatchDoesNotAllocate(t *testing.T) {
	// Aim: neither hits, nor subjects that are seen once, allocate. Method:
	// AllocsPerRun.
	tree := subject.NewTree[int]()
	for i := range 100 {
		require.NoError(t, tree.Insert(fmt.Sprintf("a.%d.*", i), "", i))
		require.NoError(t, tree.Insert("inbox.>", "q", i))
	}
	var scratch subject.Result[int]
	hot := []byte("a.7.x")
	tree.Match(hot, &scratch)
	require.Zero(t, testing.AllocsPerRun(1000, func() { tree.Match(hot, &scratch) }))
	inbox := []byte("inbox.0000000")
	i := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		i++
		inbox[6], inbox[7], inbox[8] = byte('a'+i%26), byte('a'+i/26%26), byte('a'+i/676%26)
		tree.Match(inbox, &scratch)
	}))
}

func buildTree(b *testing.B, n int) *subject.Tree[int] {
	tree := subject.NewTree[int]()
	for i := range n {
		pattern := fmt.Sprintf("bench.%d.%d.leaf", i%100, i)
		if i%10 == 0 {
			pattern = fmt.Sprintf("bench.%d.*.leaf", i%1000)
		}
		require.NoError(b, tree.Insert(pattern, "", i))
	}
	return tree
}

func BenchmarkInsertRemove(b *testing.B) {
	tree := buildTree(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		_ = tree.Insert("_INBOX.abcdefghijklmnopqrstuv", "", 1) // other tests check it; this one takes the time
		tree.Remove("_INBOX.abcdefghijklmnopqrstuv", "", 1)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		tree := buildTree(b, n)
		var scratch subject.Result[int]
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			s := []byte("bench.1.1.leaf")
			for b.Loop() {
				tree.Match(s, &scratch)
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			s := []byte("bench.1.000000.leaf")
			i := 0
			for b.Loop() {
				i++
				for d, x := 13, i; d > 7; d, x = d-1, x/10 {
					s[d] = byte('0' + x%10)
				}
				tree.Match(s, &scratch)
			}
		})
		b.Run(fmt.Sprintf("concurrent/%d", n), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				var scratch subject.Result[int]
				s := []byte("bench.1.1.leaf")
				for pb.Next() {
					tree.Match(s, &scratch)
				}
			})
		})
	}
}
