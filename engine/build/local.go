package build

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/contenthash"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/source"
	"github.com/moby/buildkit/source/local"
	"github.com/moby/buildkit/util/progress"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// contexts are the directories that sessions of this process offer, by session and
// name. A build takes them as they are here, where BuildKit would have each byte go
// through a connection of the session.
type contexts struct {
	mu  sync.Mutex
	all map[string]offered
}

type offered struct {
	sharedKey string
	dirs      map[string]fsutil.FS
}

// offer gives a session's directories until withdraw is called.
func (c *contexts) offer(session string, o offered) (withdraw func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]offered{}
	}
	c.all[session] = o
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, session)
	}
}

// find looks for a directory among those of the sessions.
func (c *contexts) find(name string, sessions []string) (dir fsutil.FS, sharedKey string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range sessions {
		if dir := c.all[s].dirs[name]; dir != nil {
			return dir, c.all[s].sharedKey
		}
	}
	return nil, ""
}

// localSource is BuildKit's source of clients' files, with a short way for those of
// this process.
type localSource struct {
	source.Source
	cm       cache.Accessor
	contexts *contexts
}

func newLocalSource(cm cache.Accessor, c *contexts) (source.Source, error) {
	s, err := local.NewSource(local.Opt{CacheAccessor: cm})
	return &localSource{s, cm, c}, err
}

// Resolve implements source.Source.
func (s *localSource) Resolve(ctx context.Context, id source.Identifier, sm *session.Manager, v solver.Vertex) (source.SourceInstance, error) {
	i, err := s.Source.Resolve(ctx, id, sm, v)
	if err != nil {
		return nil, err
	}
	l, ok := id.(*local.LocalIdentifier)
	if !ok || l.MetadataOnly {
		return i, nil
	}
	return &localFiles{i, s, l}, nil
}

// localFiles is one vertex of a localSource.
type localFiles struct {
	source.SourceInstance
	source *localSource
	id     *local.LocalIdentifier
}

// Snapshot implements source.SourceInstance.
func (l *localFiles) Snapshot(ctx context.Context, job solver.JobContext) (cache.ImmutableRef, error) {
	sessions := []string{l.id.SessionID}
	if l.id.SessionID == "" {
		sessions = session.AllSessionIDs(job.Session())
	}
	dir, key := l.source.contexts.find(l.id.Name, sessions)
	if dir == nil {
		return l.SourceInstance.Snapshot(ctx, job)
	}
	return l.take(ctx, dir, l.id.Name+":"+l.id.SharedKeyHint+":"+key)
}

// take brings the record of the key to what dir has: only what differs is copied.
func (l *localFiles) take(ctx context.Context, dir fsutil.FS, key string) (_ cache.ImmutableRef, err error) {
	ref, err := l.source.record(ctx, key, l.id.Name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		// What is in it is not known: nobody may find it again.
		err = errors.Join(err, ref.SetCachePolicyDefault())
		contenthash.ClearCacheContext(ref)
		err = errors.Join(err, ref.Release(context.WithoutCancel(ctx)))
	}()
	sums, err := contenthash.GetCacheContext(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := l.transfer(ctx, ref, dir, sums); err != nil {
		return nil, fmt.Errorf("transfer %s: %w", l.id.Name, err)
	}
	if err := contenthash.SetCacheContext(ctx, ref, sums); err != nil {
		return nil, err
	}
	if ref.GetString(keySharedKey) != key {
		if err := ref.SetString(keySharedKey, key, sharedKeyIndex+key); err != nil {
			return nil, err
		}
	}
	return ref.Commit(ctx)
}

// How BuildKit marks the records of local sources; those that sessions of clients
// have filled are found by the same.
const (
	keySharedKey   = "local.sharedKey"
	sharedKeyIndex = keySharedKey + ":"
)

// record is the record of an earlier transfer with the key that nobody uses, or a new
// one.
func (s *localSource) record(ctx context.Context, key, name string) (cache.MutableRef, error) {
	found, err := s.cm.Search(ctx, sharedKeyIndex+key, false)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if ref, err := s.cm.GetMutable(ctx, f.ID()); err == nil {
			return ref, nil
		}
	}
	return s.cm.New(ctx, nil, nil, cache.CachePolicyRetain, cache.WithRecordType(client.UsageRecordTypeLocalSource), cache.WithDescription("local source for "+name))
}

// transfer copies into the record, and has sums follow.
func (l *localFiles) transfer(ctx context.Context, ref cache.MutableRef, dir fsutil.FS, sums contenthash.CacheContext) (err error) {
	from, err := fsutil.NewFilterFS(dir, &fsutil.FilterOpt{
		IncludePatterns: l.id.IncludePatterns, ExcludePatterns: l.id.ExcludePatterns, FollowPaths: l.id.FollowPaths,
		// Files of contexts are nobody's.
		Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
			st.Uid, st.Gid = 0, 0
			return fsutil.MapResultKeep
		},
	})
	if err != nil {
		return err
	}
	mount, err := ref.Mount(ctx, false, nil)
	if err != nil {
		return err
	}
	mounter := snapshot.LocalMounter(mount)
	to, err := mounter.Mount()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mounter.Unmount()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sender, receiver := packetPipe(ctx)
	sent := make(chan error, 1)
	go func() {
		err := fsutil.Send(ctx, sender, from, nil)
		sender.close()
		if err != nil {
			cancel(err)
		}
		sent <- err
	}()
	err = fsutil.Receive(ctx, receiver, to, fsutil.ReceiveOpt{
		NotifyHashed: sums.HandleChange, ContentHasher: fileHasher(ctx),
		ProgressCb: transferred(ctx, "transferring "+l.id.Name+":"), Differ: l.id.Differ,
	})
	if err != nil {
		cancel(err)
		<-sent
		return err
	}
	return <-sent
}

// transferred tells the progress of how many bytes have come.
func transferred(ctx context.Context, name string) func(int, bool) {
	w, _, _ := progress.NewFromContext(ctx)
	begun := time.Now()
	st := progress.Status{Started: &begun, Action: "transferring"}
	said := begun
	w.Write(name, st) //nolint:errcheck // to a list in this process
	return func(n int, last bool) {
		now := time.Now()
		if !last && now.Sub(said) < 100*time.Millisecond {
			return
		}
		said, st.Current = now, n
		if last {
			st.Completed = &now
		}
		w.Write(name, st) //nolint:errcheck // as above
		if last {
			w.Close() //nolint:errcheck // as above
		}
	}
}
