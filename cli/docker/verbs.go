package docker

// Verb is a command of docker's that skiff has at its own top level too.
type Verb struct {
	Name, Short string
	// Example is for a command line that begins with skiff.
	Example string
	// As are the words of docker's that Name stands for, where they are others.
	As []string
}

// Verbs are the everyday commands, in the order of the alphabet. Docker's `start`
// and `stop` are of containers; a cluster has `up` and `down`.
var Verbs = []Verb{
	{Name: "attach", Short: "Attach local standard input, output, and error streams to a running container", Example: "  skiff attach web"},
	{Name: "build", Short: "Build an image from a Dockerfile", Example: "  skiff build -t web:v1 .\n  skiff build -f Dockerfile.web --build-arg warFile=roar.war -t web:v1 ."},
	{Name: "commit", Short: "Create a new image from a container's changes", Example: "  skiff commit --author=me --message='with curl' web web:v2"},
	{Name: "container", Short: "Manage containers", Example: "  skiff container ls -a\n  skiff container prune"},
	{Name: "cp", Short: "Copy files/folders between a container and the local filesystem", Example: "  skiff cp web:/etc/hosts .\n  skiff cp page.html web:/srv/"},
	{Name: "create", Short: "Create a new container", Example: "  skiff create --name web -p 8080:80 web:v1"},
	{Name: "diff", Short: "Inspect changes to files or directories on a container's filesystem", Example: "  skiff diff web"},
	{Name: "events", Short: "Get real time events from the server", Example: "  skiff events --since 10m --filter type=container"},
	{Name: "exec", Short: "Execute a command in a running container", Example: "  skiff exec -it web sh\n  skiff exec -d -e K=V -u www -w /srv web touch x"},
	{Name: "export", Short: "Export a container's filesystem as a tar archive", Example: "  skiff export --output=web.tar web"},
	{Name: "history", Short: "Show the history of an image", Example: "  skiff history --no-trunc web:v1"},
	{Name: "images", Short: "List images", Example: "  skiff images -a\n  skiff images --filter dangling=true -q"},
	{Name: "import", Short: "Import the contents from a tarball to create a filesystem image", Example: "  skiff import web.tar web:flat"},
	{Name: "info", Short: "Display system-wide information", Example: "  skiff info\n  skiff info --format '{{.Containers}}'"},
	{Name: "inspect", Short: "Return low-level information on Docker objects", Example: "  skiff inspect web\n  skiff inspect --format='{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web"},
	{Name: "kill", Short: "Kill one or more running containers", Example: "  skiff kill -s HUP web"},
	{Name: "load", Short: "Load an image from a tar archive or STDIN", Example: "  skiff load -i web.tar\n  skiff load < web.tar"},
	{Name: "login", Short: "Authenticate to a registry", Example: "  skiff login -u me localhost:5000"},
	{Name: "logout", Short: "Log out from a registry", Example: "  skiff logout localhost:5000"},
	{Name: "logs", Short: "Fetch the logs of a container", Example: "  skiff logs -f --tail 10 web"},
	{Name: "network", Short: "Manage networks", Example: "  skiff network create --subnet 10.1.0.0/16 mine\n  skiff network ls"},
	{Name: "pause", Short: "Pause all processes within one or more containers", Example: "  skiff pause web"},
	{Name: "port", Short: "List port mappings or a specific mapping for the container", Example: "  skiff port web\n  skiff port web 80/tcp"},
	{Name: "prune", Short: "Remove unused data", Example: "  skiff prune -f\n  skiff prune --volumes", As: []string{"system", "prune"}},
	{Name: "ps", Short: "List containers", Example: "  skiff ps\n  skiff ps -aq"},
	{Name: "pull", Short: "Download an image from a registry", Example: "  skiff pull localhost:5000/web:v1"},
	{Name: "push", Short: "Upload an image to a registry", Example: "  skiff push localhost:5000/web:v1"},
	{Name: "rename", Short: "Rename a container", Example: "  skiff rename web old"},
	{Name: "restart", Short: "Restart one or more containers", Example: "  skiff restart -t 5 web"},
	{Name: "rm", Short: "Remove one or more containers", Example: "  skiff rm -f $(skiff ps -aq)"},
	{Name: "rmi", Short: "Remove one or more images", Example: "  skiff rmi -f web:v1"},
	{Name: "run", Short: "Create and run a new container from an image", Example: "  skiff run --rm -it busybox sh\n  skiff run -d --name web -p 8080:80 --restart=always web:v1"},
	{Name: "save", Short: "Save one or more images to a tar archive (streamed to STDOUT by default)", Example: "  skiff save --output=web.tar web:v1"},
	{Name: "search", Short: "Search Docker Hub for images", Example: "  skiff search --limit 5 nginx"},
	{Name: "start", Short: "Start one or more stopped containers", Example: "  skiff start web        # a cluster is started with skiff up"},
	{Name: "stats", Short: "Display a live stream of container(s) resource usage statistics", Example: "  skiff stats --no-stream"},
	{Name: "stop", Short: "Stop one or more running containers", Example: "  skiff stop -t 10 web   # a cluster is stopped with skiff down"},
	{Name: "system", Short: "Manage Docker", Example: "  skiff system df\n  skiff system prune"},
	{Name: "tag", Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", Example: "  skiff tag web:v1 localhost:5000/web:v1"},
	{Name: "top", Short: "Display the running processes of a container", Example: "  skiff top web"},
	{Name: "unpause", Short: "Unpause all processes within one or more containers", Example: "  skiff unpause web"},
	{Name: "update", Short: "Update configuration of one or more containers", Example: "  skiff update --memory 256m --memory-swap 256m web"},
	{Name: "version", Short: "Show the Docker version information", Example: "  skiff version\n  skiff version --format '{{.Server.Version}}'"},
	{Name: "volume", Short: "Manage volumes", Example: "  skiff volume create data\n  skiff volume ls"},
	{Name: "wait", Short: "Block until one or more containers stop, then print their exit codes", Example: "  skiff wait web"},
}

// ImageVerbs are the commands under `image` that are docker's; skiff has its own
// load, ls, pull and rm there.
var ImageVerbs = []string{"build", "history", "import", "inspect", "prune", "push", "save", "tag"}
