package disk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"skiff.dev/skiff/store"
)

// killDir tells a child process of TestKill which store to write to.
const killDir = "SKIFF_STORE_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		writeUntilKilled(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	killWriters = 16
	killKeys    = 4 // of each writer
	kills       = 210
)

// killValue is what writer w writes to a key in its nth write: it can be
// recomputed, and some are long.
func killValue(w, n uint32) []byte {
	head := fmt.Appendf(nil, "%d:%d:", w, n)
	return append(head, bytes.Repeat([]byte{byte(n)}, int(n*37%3000))...)
}

func killKey(w, n uint32) string { return fmt.Sprintf("w%02d/%d", w, n%killKeys) }

// killDeletes says that the nth write deletes, together with a put elsewhere.
func killDeletes(n uint32) bool { return n%7 == 3 }

func killTxn(w, n uint32, mod int64) store.Txn {
	op := store.Op{Key: killKey(w, n), Value: killValue(w, n)}
	if killDeletes(n) {
		op = store.Op{Key: killKey(w, n), Delete: true}
	}
	return store.Txn{
		Guards: []store.Guard{{Key: killKey(w, n), ModRevision: mod}},
		Ops:    []store.Op{op, {Key: fmt.Sprintf("n%02d", w), Value: fmt.Append(nil, n)}},
	}
}

// writeUntilKilled is the child: it writes from many goroutines, compacts now
// and then, and reports each acknowledged write, 16 bytes in one write(2), which
// a pipe keeps whole.
func writeUntilKilled(dir string) {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for w := range uint32(killWriters) {
		go func() {
			ctx := context.Background()
			n := uint32(0)
			if res, err := s.Range(ctx, store.Range{Start: fmt.Sprintf("n%02d", w)}); err == nil && res.Count > 0 {
				last, _ := strconv.Atoi(string(res.KVs[0].Value))
				n = uint32(last) + 1
			}
			for ; ; n++ {
				res, err := s.Range(ctx, store.Range{Start: killKey(w, n)})
				if err != nil {
					panic(err)
				}
				mod := int64(0)
				if res.Count > 0 {
					mod = res.KVs[0].ModRevision
				}
				rev, err := s.Commit(ctx, killTxn(w, n, mod))
				if err != nil {
					panic(err)
				}
				report := binary.BigEndian.AppendUint32(nil, w)
				report = binary.BigEndian.AppendUint32(report, n)
				os.Stdout.Write(binary.BigEndian.AppendUint64(report, uint64(rev)))
				if n%64 == 63 {
					s.Compact(ctx, rev-500)
				}
			}
		}()
	}
	select {}
}

// TestKill kills a writing process again and again and looks for every write
// that it had acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := make([]uint32, killWriters) // writes acknowledged, by writer
	total := 0
	for i := range kills {
		reports := runAndKill(t, dir)
		total += len(reports)
		checkKilled(t, dir, reports, acked)
		if t.Failed() {
			t.Fatalf("after kill %d", i+1)
		}
	}
	if total < kills {
		t.Errorf("only %d writes in %d lives: the test shows nothing", total, kills)
	}
	t.Logf("%d kills, %d acknowledged writes", kills, total)
}

type killReport struct {
	w, n uint32
	rev  int64
}

// runAndKill starts a child, kills it at a random moment after its first
// acknowledged write, and returns all that it reported.
func runAndKill(t *testing.T, dir string) (reports []killReport) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir, "GOMAXPROCS=4")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	in := bufio.NewReader(out)
	for {
		var b [16]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return reports
		}
		if len(reports) == 0 {
			time.AfterFunc(time.Duration(rand.IntN(30000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
		reports = append(reports, killReport{
			binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:]), int64(binary.BigEndian.Uint64(b[8:])),
		})
	}
}

// checkKilled opens the store and replays its history: each acknowledged write
// has its revision, each writer's writes follow one another without a gap, with
// at most one beyond the last acknowledged, and the values are what was written.
func checkKilled(t *testing.T, dir string, reports []killReport, acked []uint32) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	byRevision := map[int64]killReport{}
	for _, r := range reports {
		byRevision[r.rev] = r
		acked[r.w] = max(acked[r.w], r.n+1)
		if r.rev > s.Revision() {
			t.Errorf("acknowledged revision %d is lost: the newest is %d", r.rev, s.Revision())
		}
	}
	// The newest state is exactly what the number of writes of each writer says.
	want := map[string][]byte{}
	for w := range uint32(killWriters) {
		res, err := s.Range(context.Background(), store.Range{Start: fmt.Sprintf("n%02d", w)})
		if err != nil {
			t.Fatal(err)
		}
		done := uint32(0)
		if res.Count > 0 {
			n, _ := strconv.Atoi(string(res.KVs[0].Value))
			done = uint32(n) + 1
			want[res.KVs[0].Key] = res.KVs[0].Value
		}
		if done != acked[w] && done != acked[w]+1 {
			t.Errorf("writer %d: %d writes are there, %d were acknowledged", w, done, acked[w])
		}
		acked[w] = done
		for n := range min(done, killKeys) {
			if last := done - 1 - n; !killDeletes(last) {
				want[killKey(w, last)] = killValue(w, last)
			}
		}
	}
	res, err := s.Range(context.Background(), store.Range{Start: "", End: "\xff"})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range res.KVs {
		if v, ok := want[kv.Key]; !ok || !bytes.Equal(v, kv.Value) {
			t.Errorf("%s is not what was written", kv.Key)
		}
		delete(want, kv.Key)
	}
	for key := range want {
		t.Errorf("%s is missing", key)
	}
	from := max(s.compacted.Load(), 1)
	for from <= s.Revision() {
		b, err := s.Replay(context.Background(), "n", "o", from, s.Revision(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			r, ok := byRevision[e.ModRevision]
			if ok && (e.Key != fmt.Sprintf("n%02d", r.w) || string(e.Value) != fmt.Sprint(r.n)) {
				t.Errorf("revision %d is %s=%s, acknowledged was write %d of writer %d", e.ModRevision, e.Key, e.Value, r.n, r.w)
			}
			delete(byRevision, e.ModRevision)
		}
		from = b.Revision + 1
	}
	for rev := range byRevision {
		if rev >= s.compacted.Load() {
			t.Errorf("acknowledged revision %d is missing from the history", rev)
		}
	}
}
