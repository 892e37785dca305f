<?php

namespace App\Http\Controllers;

use App\Services\Ringback;
use Illuminate\Http\Request;
use Illuminate\Http\Response;

class RingbackController
{
    /** Only writes down what came. If that fails, Laravel answers 500, and the event comes again. */
    public function __invoke(Request $request, Ringback $ringback): Response
    {
        $ringback->record($request->header('webhook-id'), $request->json()->all());

        return response()->noContent();
    }
}
