# Prints the targets of a Makefile that carry a `##` comment, under their `##@` heads.
BEGIN { FS = ":.*## " }
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $1, $2 }
END { print "" }
