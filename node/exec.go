package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
)

// streamIdle is how long a stream without traffic lives, the kubelet's default.
const streamIdle = 4 * time.Hour

func (n *Node) serveExec(rw http.ResponseWriter, r *http.Request) {
	id, ok := n.runningContainer(rw, r)
	if !ok {
		return
	}
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	cmd := r.URL.Query()["command"]
	if len(cmd) == 0 {
		http.Error(rw, "you must specify at least 1 command for the container", http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(rw, r, streamer{n}, "", "", id, cmd, o, streamIdle,
		remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (n *Node) serveAttach(rw http.ResponseWriter, r *http.Request) {
	id, ok := n.runningContainer(rw, r)
	if !ok {
		return
	}
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(rw, r, streamer{n}, "", "", id, o, streamIdle,
		remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (n *Node) servePortForward(rw http.ResponseWriter, r *http.Request) {
	w := n.find(r.PathValue("namespace"), r.PathValue("pod"))
	if w == nil {
		http.Error(rw, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	o, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(rw, r, forwarder{w}, r.PathValue("pod"), string(w.pod.UID), o, streamIdle,
		remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// runningContainer finds the instance that a request names.
func (n *Node) runningContainer(rw http.ResponseWriter, r *http.Request) (id string, ok bool) {
	pod, container := r.PathValue("pod"), r.PathValue("container")
	w := n.find(r.PathValue("namespace"), pod)
	if w == nil {
		http.Error(rw, fmt.Sprintf("pod %q does not exist", pod), http.StatusNotFound)
		return "", false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.obs.Containers[container]
	if c == nil || c.State != lifecycle.Running {
		http.Error(rw, fmt.Sprintf("unable to upgrade connection: container not found (%q)", container), http.StatusNotFound)
		return "", false
	}
	return c.ID, true
}

// streamer runs what the streaming library has connected. The container's name is
// the engine's id.
type streamer struct{ n *Node }

func (s streamer) ExecInContainer(ctx context.Context, _, _, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	streams, stop := connect(in, out, errw, resize)
	defer stop()
	code, err := s.n.o.Engine.Exec(ctx, id, engine.ExecSpec{Args: cmd, TTY: tty}, streams)
	var se *engine.StartError
	if errors.As(err, &se) {
		// What the user sees of a command that is not there, with the shells' codes.
		return utilexec.CodeExitError{Err: err, Code: se.ExitCode}
	}
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return err
}

func (s streamer) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errw io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	streams, stop := connect(in, out, errw, resize)
	defer stop()
	return s.n.o.Engine.Attach(ctx, id, streams)
}

// connect turns the library's streams, whose absent ones are nil interfaces, into
// the engine's.
func connect(in io.Reader, out, errw io.WriteCloser, resize <-chan remotecommand.TerminalSize) (engine.Streams, func()) {
	s := engine.Streams{Stdin: in}
	if out != nil {
		s.Stdout = out
	}
	if errw != nil {
		s.Stderr = errw
	}
	if resize == nil {
		return s, func() {}
	}
	sizes, quit := make(chan engine.Size), make(chan struct{})
	s.Resize = sizes
	go func() {
		defer close(sizes)
		for {
			select {
			case t, ok := <-resize:
				if !ok {
					return
				}
				select {
				case sizes <- engine.Size{Width: t.Width, Height: t.Height}:
				case <-quit:
					return
				}
			case <-quit:
				return
			}
		}
	}()
	return s, func() { close(quit) }
}

type forwarder struct{ w *worker }

// PortForward copies between a client's stream and a port of the pod.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := f.w.dial(ctx, port)
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside namespace %q: %w", port, f.w.pod.UID, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		if c, ok := conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		done <- err
	}()
	_, err = io.Copy(stream, conn)
	// What the client still sends goes nowhere now.
	conn.Close()
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (w *worker) dial(ctx context.Context, port int32) (net.Conn, error) {
	w.mu.Lock()
	pod, sandbox, ip := w.pod, w.sandbox, first(w.obs.IPs)
	w.mu.Unlock()
	p := strconv.Itoa(int(port))
	if d, ok := w.n.o.Network.(PodDialer); ok && !pod.Spec.HostNetwork {
		all, err := w.n.o.Engine.Sandboxes(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.Spec.ID == sandbox {
				return d.DialPod(ctx, string(pod.UID), s.NetNS, "tcp", net.JoinHostPort("localhost", p))
			}
		}
	}
	if pod.Spec.HostNetwork {
		ip = "localhost"
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort(ip, p))
}
