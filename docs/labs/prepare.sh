# Prepares a shell (bash, with curl) for the labs, from the checkout, while `make run NODES=3` runs in another one:
#     . docs/labs/prepare.sh

. .venv/bin/activate
store=${store:-http://127.0.0.1:5000}       # where the store is
other_port=${other_port:-5001}              # where labs that need a second store start it
other=http://127.0.0.1:$other_port
lab="store-manager lab --name store-3"      # the nodes of `make run NODES=3`
eval "$($lab settings)"                     # and how they are reached

call() { # METHOD PATH [BODY]: calls the store and prints the answer
    curl -sS -X "$1" "$store$2" ${3:+-H 'Content-Type: application/json' -d "$3"}
}

status() { # METHOD URL [CURL'S OPTIONS]: prints the status of an answer and, if it may be stale, that
    curl -sS -o /dev/null -X "$1" "$2" "${@:3}" -w '%{http_code} %header{possibly-stale}\n' | sed 's/ true$/, possibly stale/; s/ $//'
}

pick() { # EXPRESSION: prints what it makes of the JSON `answer` that is piped in
    python3 -c 'import json, sys; answer = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}

new_product() { # NAME: creates a product of which there are ten, and prints its id
    local id
    id=$(call POST /products "{\"name\": \"$1\", \"sku\": \"$1-$(date +%s%N)\", \"price\": \"1.00\"}" | pick 'answer["product_id"]')
    call PUT "/stocks/$id" '{"quantity": 10}' >/dev/null
    echo "$id"
}

wait_until() { # COMMAND, as one word: repeats it each second until it succeeds
    until eval "$1" >/dev/null 2>&1; do sleep 1; done
}

all_up() { # succeeds when every node answers the store
    call GET /cluster | pick 'all(node["state"] == "UP" for node in answer["nodes"]) or exit(1)'
}
