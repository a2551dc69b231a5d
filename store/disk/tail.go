package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"skiff.dev/skiff/store"
)

// Pebble takes the first record that it cannot read for the end of its newest log or
// of its manifest, as a power cut may leave it, unless a later block of 32 KiB proves
// otherwise. A record that was synced and has rotted since would so take all behind it
// along in silence. checkTails looks closer before the database is opened: where what
// is cut off cannot be a power cut's doing it refuses to, and otherwise tells the log.

// The format of Pebble's records (pebble/record): blocks of 32 KiB hold chunks, each
// with checksum (4 bytes), length (2), type (1), in a log its number (4) and how far
// it was synced when the chunk was written (8), and the payload.
const (
	blockSize   = 32 << 10
	plainHeader = 7
	logHeader   = 19
	logTypes    = 9 // and the three after it; 1 to 4 are a manifest's, 5 to 8 an older log's
	sector      = 512
)

// checkTails looks at the newest log and the manifest in use.
func checkTails(fs vfs.FS, dir string, log *slog.Logger) error {
	names, err := fs.List(dir)
	if err != nil {
		return nil // there is none yet; opening tells what else it may be
	}
	slices.Sort(names)
	var newest string
	var number uint64
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, ".log"); ok {
			if n, err := strconv.ParseUint(base, 10, 64); err == nil && n >= number {
				newest, number = name, n
			}
		}
	}
	if newest != "" {
		if err := checkTail(fs, dir, newest, tail{number: uint32(number), log: true}, log); err != nil {
			return err
		}
	}
	for _, name := range names {
		if n, ok := strings.CutPrefix(name, "marker.manifest."); ok {
			if _, manifest, ok := strings.Cut(n, "."); ok {
				return checkTail(fs, dir, manifest, tail{}, log)
			}
		}
	}
	return nil
}

func checkTail(fs vfs.FS, dir, name string, t tail, log *slog.Logger) error {
	raw, err := readFile(fs, fs.PathJoin(dir, name))
	if err != nil {
		return nil // Pebble tells what it makes of that
	}
	end, why := t.end(raw)
	switch {
	case why == nil:
		return nil
	case errors.Is(why, errTorn):
		log.Warn("store: the last record is cut off: it was being written at a crash, or is damaged", "file", path.Join(dir, name), "at", end)
		return nil
	}
	return &store.CorruptError{Where: fmt.Sprintf("%s at byte %d", path.Join(dir, name), end), Err: why}
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// tail reads the chunks of one file.
type tail struct {
	log    bool
	number uint32 // of the log
}

var errTorn = errors.New("torn")

// end is where the readable chunks end: at the end of what was written (no error), at
// a record that may be torn (errTorn), or at one that is corrupt (another error).
func (t tail) end(raw []byte) (int, error) {
	at := 0
	for at < len(raw) {
		c, ok := t.chunk(raw, at)
		if ok && c.number != t.number {
			return at, nil // of the log that this file was before, or its end mark
		}
		if ok {
			at = c.end
			continue
		}
		// What does not fit into a block any more is zero.
		if next := min((at/blockSize+1)*blockSize, len(raw)); next-at < logHeader && zero(raw[at:next]) {
			at = next
			continue
		}
		break
	}
	if at >= len(raw) {
		return at, nil
	}
	if zero(raw[at:]) {
		return at, nil
	}
	recycled := false
	for later := at + 1; later < len(raw); later++ {
		c, ok := t.chunk(raw, later)
		switch {
		case !ok:
		case c.number != t.number:
			recycled = true
		case !t.log:
			return at, errors.New("a record cannot be read, and a later one can")
		case c.synced > uint64(at):
			return at, errors.New("a record cannot be read that was on the disk when a later one was written")
		}
	}
	switch {
	case recycled:
		return at, nil
	case !t.log && complete(raw, at):
		return at, errors.New("the last record is whole, but its checksum is wrong")
	}
	return at, errTorn
}

// complete tells whether the record at a place is there to its end: a power cut may
// leave a shorter file or sectors that were never written.
func complete(raw []byte, at int) bool {
	if at+plainHeader > len(raw) {
		return false
	}
	end := at + plainHeader + int(binary.LittleEndian.Uint16(raw[at+4:]))
	if end > len(raw) {
		return false
	}
	for ; at < end; at = (at/sector + 1) * sector {
		if zero(raw[at:min((at/sector+1)*sector, end)]) {
			return false
		}
	}
	return true
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

type chunk struct {
	end    int
	number uint32
	synced uint64
}

// chunk reads the chunk at a place; ok is false where there is none.
func (t tail) chunk(raw []byte, at int) (c chunk, ok bool) {
	header, first := plainHeader, byte(1)
	if t.log {
		header, first = logHeader, logTypes
	}
	limit := min((at/blockSize+1)*blockSize, len(raw))
	if at+header > limit {
		if t.log { // an end mark has the shorter header of an older log
			return t.oldChunk(raw, at, limit)
		}
		return c, false
	}
	if kind := raw[at+6]; kind < first || kind > first+3 {
		if t.log {
			return t.oldChunk(raw, at, limit)
		}
		return c, false
	}
	if t.log {
		c.number = binary.LittleEndian.Uint32(raw[at+7:])
		c.synced = binary.LittleEndian.Uint64(raw[at+11:])
	}
	c.end = at + header + int(binary.LittleEndian.Uint16(raw[at+4:]))
	return c, t.likely(c.number) && c.end <= limit && sound(raw[at:c.end])
}

// likely tells whether a chunk may be of this log, of one whose file it has taken
// over, or its end mark. It spares the checksums of what is no chunk at all.
func (t tail) likely(number uint32) bool {
	return !t.log || number <= t.number+1 && number+1000 > t.number
}

// oldChunk reads a chunk of a log without sync offsets; Pebble marks the end of a log
// by one of the next log's number.
func (t tail) oldChunk(raw []byte, at, limit int) (c chunk, ok bool) {
	const header = 11
	if at+header > limit || raw[at+6] < 5 || raw[at+6] > 8 {
		return c, false
	}
	c.end = at + header + int(binary.LittleEndian.Uint16(raw[at+4:]))
	c.number = binary.LittleEndian.Uint32(raw[at+7:])
	return c, t.likely(c.number) && c.end <= limit && sound(raw[at:c.end])
}

// sound checks a chunk's checksum, which Pebble masks.
func sound(chunk []byte) bool {
	sum := crc32.Checksum(chunk[6:], castagnoli)
	return binary.LittleEndian.Uint32(chunk) == (sum>>15|sum<<17)+0xa282ead8
}
