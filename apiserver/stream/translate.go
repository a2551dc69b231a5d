package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	constants "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/tools/remotecommand"
	clientspdy "k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// idle is how long a session may be silent, the node's own limit in Kubernetes.
const idle = 4 * time.Hour

// translate serves a client that speaks v5.channel.k8s.io: WebSockets on which a
// stream can be closed alone. Nodes speak SPDY for that.
func translate(w http.ResponseWriter, r *http.Request, h http.Handler, path string, query url.Values, o wanted) {
	channels := make([]wsstream.ChannelType, 5)
	for i, c := range []struct {
		open bool
		kind wsstream.ChannelType
	}{{o.stdin, wsstream.ReadChannel}, {o.stdout, wsstream.WriteChannel}, {o.stderr, wsstream.WriteChannel}, {true, wsstream.WriteChannel}, {true, wsstream.ReadChannel}} {
		if channels[i] = wsstream.IgnoreChannel; c.open {
			channels[i] = c.kind
		}
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		constants.StreamProtocolV5Name: {Binary: true, Channels: channels},
	})
	conn.SetIdleTimeout(idle)
	_, streams, err := conn.Open(w, r)
	if err != nil {
		return // Open has answered
	}
	defer conn.Close()
	// An empty message tells the client that the session stands.
	first := constants.StreamErr
	if o.stdout {
		first = constants.StreamStdOut
	} else if o.stderr {
		first = constants.StreamStdErr
	}
	if _, err := streams[first].Write(nil); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	opts := remotecommand.StreamOptions{Tty: o.tty}
	if o.stdin {
		opts.Stdin = streams[constants.StreamStdIn]
	}
	if o.stdout {
		opts.Stdout = streams[constants.StreamStdOut]
	}
	if o.stderr {
		opts.Stderr = streams[constants.StreamStdErr]
	}
	if o.tty {
		opts.TerminalSizeQueue = sizes(ctx, streams[constants.StreamResize])
	}
	status := statusOf(run(ctx, h, path, query, opts))
	b, err := json.Marshal(&status)
	if err != nil {
		return
	}
	conn.SetWriteDeadline(10 * time.Second)
	_, _ = streams[constants.StreamErr].Write(b) // the client may be gone
}

// run is the SPDY client of the node's handler.
func run(ctx context.Context, h http.Handler, path string, query url.Values, opts remotecommand.StreamOptions) error {
	rt, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{UpgradeTransport: transport(h), PingPeriod: 5 * time.Second})
	if err != nil {
		return err
	}
	e, err := remotecommand.NewSPDYExecutorRejectRedirects(rt, clientspdy.NewUpgraderForStreaming(rt), http.MethodPost,
		&url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()})
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, opts)
}

// statusOf is a session's end as the error stream tells it.
func statusOf(err error) metav1.Status {
	if err == nil {
		return metav1.Status{Status: metav1.StatusSuccess}
	}
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		return known.Status()
	}
	var code exec.CodeExitError
	if errors.As(err, &code) && code.Exited() {
		return metav1.Status{
			Status:  metav1.StatusFailure,
			Reason:  constants.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", err),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: constants.ExitCodeCauseType, Message: fmt.Sprint(code.ExitStatus())}}},
		}
	}
	return apierrors.NewInternalError(err).Status()
}

// sizeQueue hands terminal sizes from the client on.
type sizeQueue struct {
	ctx context.Context
	c   chan remotecommand.TerminalSize
}

// sizes reads terminal sizes until the stream or the context ends.
func sizes(ctx context.Context, from io.Reader) *sizeQueue {
	q := &sizeQueue{ctx, make(chan remotecommand.TerminalSize)}
	go func() {
		defer close(q.c)
		for d := json.NewDecoder(from); ; {
			var s remotecommand.TerminalSize
			if d.Decode(&s) != nil {
				return
			}
			select {
			case q.c <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return q
}

// Next implements remotecommand.TerminalSizeQueue.
func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	select {
	case s, ok := <-q.c:
		if ok {
			return &s
		}
	case <-q.ctx.Done():
	}
	return nil
}
