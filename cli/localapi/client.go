package localapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotRunning means that no skiff listens on the socket.
var ErrNotRunning = errors.New("skiff is not running")

// ErrNotRoot means that the socket is not the caller's to open.
var ErrNotRoot = errors.New("only root may ask skiff: run it with sudo")

// Client speaks to the skiff whose run directory it was made for.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient does not connect yet.
func NewClient(runDir string) *Client {
	socket := filepath.Join(runDir, Socket)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Status asks how the running skiff is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.call(ctx, http.MethodGet, "/status", nil, &s)
}

// Stop asks it to stop and returns when it has agreed.
func (c *Client) Stop(ctx context.Context, r StopRequest) error {
	return c.call(ctx, http.MethodPost, "/stop", r, nil)
}

// RotateKey asks it to seal all secrets by a new key and waits until it has.
func (c *Client) RotateKey(ctx context.Context) (RotatedKey, error) {
	var r RotatedKey
	return r, c.call(ctx, http.MethodPost, "/secrets/rotate-key", nil, &r)
}

// Images lists the image store.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var out []Image
	return out, c.call(ctx, http.MethodGet, "/images", nil, &out)
}

// RemoveImage takes one name or image away.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "/images?ref="+url.QueryEscape(ref), nil, nil)
}

// LoadImages sends an archive; name names what has none in it.
func (c *Client) LoadImages(ctx context.Context, archive io.Reader, name string) ([]Image, error) {
	return c.stream(ctx, "/images/load?name="+url.QueryEscape(name), archive, nil)
}

// LoadDir has the server read an OCI layout directory.
func (c *Client) LoadDir(ctx context.Context, dir, name string) ([]Image, error) {
	q := url.Values{"dir": {dir}, "name": {name}}
	return c.stream(ctx, "/images/load?"+q.Encode(), nil, nil)
}

// Pull fetches an image from its registry and tells its progress.
func (c *Client) Pull(ctx context.Context, r PullRequest, progress func(Progress)) ([]Image, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return c.stream(ctx, "/images/pull", bytes.NewReader(body), progress)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (c *Client) stream(ctx context.Context, path string, body io.Reader, progress func(Progress)) ([]Image, error) {
	resp, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		raw, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("skiff stopped before it had answered: %w", err)
		}
		var l StreamLine
		if err := json.Unmarshal(raw, &l); err != nil {
			return nil, fmt.Errorf("the answer on %s cannot be read: %w", c.socket, err)
		}
		switch {
		case l.Error != "":
			return nil, errors.New(l.Error)
		case l.Done:
			return l.Images, nil
		case l.Progress != nil && progress != nil:
			progress(*l.Progress)
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://skiff"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w (nothing listens on %s)", ErrNotRunning, c.socket)
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w (%s is root's alone)", ErrNotRoot, c.socket)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		var e Error
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if json.Unmarshal(b, &e) != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return nil, errors.New(e.Message)
	}
	return resp, nil
}
